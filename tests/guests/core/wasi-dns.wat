;; Looks up a name through WASI. The body is one byte: 255 where the look-up began, else the error-code's place in its
;; enum (access-denied is 1).
(module
  (import "wasi:sockets/instance-network@0.2.3" "instance-network" (func $network (result i32)))
  (import "wasi:sockets/ip-name-lookup@0.2.3" "resolve-addresses" (func $resolve (param i32 i32 i32 i32)))
  ;;@memory
  (data (i32.const 1100) "leak.example.com")
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (call $resolve (call $network) (i32.const 1100) (i32.const 16) (i32.const 1024))
    (if (i32.eqz (i32.load8_u (i32.const 1024)))
      (then (i32.store8 (i32.const 1028) (i32.const 255))))
    (call $respond_body (i32.const 200) (i32.const 1028) (i32.const 1))))
