;; Loops in cabi_realloc, which the host calls to hand the request over.
(module
  ;;@memory
  ;;@respond
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (loop $for_ever (br $for_ever))
    (unreachable))
  (func (export "handler") (param $request i32) (result i32)
    (call $respond (i32.const 200))))
