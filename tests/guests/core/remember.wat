;; Answers with the body of the call before, which it kept in its memory, and keeps this one: bodies up to 16 KiB.
(module
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (local $kept i32)
    (local $length i32)
    (local.set $kept (i32.load (i32.const 98304)))
    (local.set $length (i32.load offset=84 (local.get $request)))
    (memory.copy (i32.const 65536) (i32.const 98308) (local.get $kept))
    (i32.store (i32.const 98304) (local.get $length))
    (memory.copy (i32.const 98308) (i32.load offset=80 (local.get $request)) (local.get $length))
    (call $respond_body (i32.const 200) (i32.const 65536) (local.get $kept))))
