;; Exports a handler whose request has one field more than ours.
(module
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (call $respond (i32.const 200))))
