;; Imports a function that logging does not have.
(module
  (import "alga:extension/logging" "log-secretly" (func $imported (param i32 i32 i32)))
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (call $imported (i32.const 1024) (i32.const 0) (i32.const 2048))
    (call $respond (i32.const 200))))
