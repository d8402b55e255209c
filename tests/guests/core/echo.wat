;; 200 with the request's body; x-echo-url and x-ext-echo-url carry the url, x-ext-echo-method the method.
(module
  ;;@memory
  (data (i32.const 1024) "x-echo-urlx-ext-echo-urlx-ext-echo-method")
  ;;@realloc
  (func $header (param $at i32) (param $name i32) (param $name_length i32) (param $value i32)
    (i32.store offset=0 (local.get $at) (local.get $name))
    (i32.store offset=4 (local.get $at) (local.get $name_length))
    (i32.store offset=8 (local.get $at) (i32.load offset=0 (local.get $value)))
    (i32.store offset=12 (local.get $at) (i32.load offset=4 (local.get $value))))
  (func (export "handler") (param $request i32) (result i32)
    (call $header (i32.const 2048) (i32.const 1024) (i32.const 10) (i32.add (local.get $request) (i32.const 60)))
    (call $header (i32.const 2064) (i32.const 1034) (i32.const 14) (i32.add (local.get $request) (i32.const 60)))
    (call $header (i32.const 2080) (i32.const 1048) (i32.const 17) (i32.add (local.get $request) (i32.const 52)))
    (i32.store (i32.const 4096) (i32.const 200))
    (i32.store (i32.const 4100) (i32.const 2048))
    (i32.store (i32.const 4104) (i32.const 3))
    (i32.store (i32.const 4108) (i32.load8_u offset=76 (local.get $request)))
    (i32.store (i32.const 4112) (i32.load offset=80 (local.get $request)))
    (i32.store (i32.const 4116) (i32.load offset=84 (local.get $request)))
    (i32.const 4096)))
