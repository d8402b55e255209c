;; Makes a UDP socket through WASI. The body is one byte: 255 where there is a socket, else the error-code's
;; place in its enum (access-denied is 1).
(module
  (import "wasi:sockets/udp-create-socket@0.2.0" "create-udp-socket" (func $create (param i32 i32)))
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (call $create (i32.const 0) (i32.const 1024))
    (if (i32.eqz (i32.load8_u (i32.const 1024)))
      (then (i32.store8 (i32.const 1028) (i32.const 255))))
    (call $respond_body (i32.const 200) (i32.const 1028) (i32.const 1))))
