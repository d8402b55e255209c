;; Imports an interface of a package that is not ours.
(module
  (import "test:guest/teleport" "beam" (func $imported (param i32 i32 i32)))
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (call $imported (i32.const 1024) (i32.const 0) (i32.const 2048))
    (call $respond (i32.const 200))))
