;; Traps: integer divide by zero.
(module
  ;;@memory
  ;;@realloc
  (global $zero (mut i32) (i32.const 0))
  (func (export "handler") (param $request i32) (result i32)
    (i32.div_u (i32.const 1) (global.get $zero))))
