;; Traps: integer overflow, the least number divided by minus one.
(module
  ;;@memory
  ;;@realloc
  (global $minus_one (mut i32) (i32.const -1))
  (func (export "handler") (param $request i32) (result i32)
    (i32.div_s (i32.const 0x80000000) (global.get $minus_one))))
