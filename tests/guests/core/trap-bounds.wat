;; Traps: out of bounds memory access.
(module
  ;;@memory
  ;;@realloc
  (func (export "handler") (param $request i32) (result i32)
    (i32.load (i32.const -8))))
