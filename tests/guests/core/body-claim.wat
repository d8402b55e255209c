;; Claims a body of 100 MB that its memory does not hold.
(module
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (call $respond_body (i32.const 200) (i32.const 0) (i32.const 100000000))))
