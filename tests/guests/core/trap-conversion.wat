;; Traps: invalid conversion to integer.
(module
  ;;@memory
  ;;@realloc
  (global $nan (mut f64) (f64.const nan))
  (func (export "handler") (param $request i32) (result i32)
    (i32.trunc_f64_s (global.get $nan))))
