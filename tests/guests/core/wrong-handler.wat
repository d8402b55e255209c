;; Exports a handler of another type: string in, string out.
(module
  ;;@memory
  (global $heap (mut i32) (i32.const 8192))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.get $heap))
  (func (export "handler") (param i32 i32) (result i32)
    (i32.const 4096)))
