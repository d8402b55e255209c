;; Declares a minimum memory of 1 GiB.
(module
  (memory (export "memory") 16384)
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (call $respond (i32.const 200))))
