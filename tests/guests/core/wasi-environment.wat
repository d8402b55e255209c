;; The body is two bytes: how many variables and how many arguments it was given.
(module
  (import "wasi:cli/environment@0.2.1" "get-environment" (func $variables (param i32)))
  (import "wasi:cli/environment@0.2.1" "get-arguments" (func $arguments (param i32)))
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (call $variables (i32.const 1024))
    (call $arguments (i32.const 1032))
    (i32.store8 (i32.const 1040) (i32.load (i32.const 1028)))
    (i32.store8 (i32.const 1041) (i32.load (i32.const 1036)))
    (call $respond_body (i32.const 200) (i32.const 1040) (i32.const 2))))
