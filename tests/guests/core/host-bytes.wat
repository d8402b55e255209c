;; Calls storage put with 2.79 MB of bytes, over and over.
(module
  (import "alga:extension/storage" "put" (func $put (param i32 i32 i32 i32 i32 i32 i32 i64 i32)))
  (memory (export "memory") 64)
  (data (i32.const 1024) "notesk")
  ;;@realloc
  (func (export "handler") (param $request i32) (result i32)
    (loop $for_ever
      (call $put
        (i32.const 1024) (i32.const 5)
        (i32.const 1029) (i32.const 1)
        (i32.const 131072) (i32.const 2790000)
        (i32.const 0) (i64.const 0)
        (i32.const 2048))
      (br $for_ever))
    (unreachable)))
