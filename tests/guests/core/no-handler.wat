;; Exports something, but no handler.
(module
  ;;@memory
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8192))
  (func (export "something-else") (result i32)
    (i32.const 4096)))
