;; Asks storage-v2 for a million keys, all of them empty, over and over.
(module
  (import "alga:extension/storage-v2" "get-many" (func $get_many (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 200)
  (data (i32.const 1024) "notes")
  ;;@realloc
  (func (export "handler") (param $request i32) (result i32)
    (loop $for_ever
      (call $get_many (i32.const 1024) (i32.const 5) (i32.const 131072) (i32.const 1000000) (i32.const 2048))
      (br $for_ever))
    (unreachable)))
