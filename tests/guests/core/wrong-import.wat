;; Imports storage get under another type than ours: a number for the key, a number back.
(module
  (import "alga:extension/storage" "get" (func $imported (param i32 i32 i64) (result i32)))
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (drop (call $imported (i32.const 1024) (i32.const 0) (i64.const 7)))
    (call $respond (i32.const 200))))
