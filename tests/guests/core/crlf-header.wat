;; Answers 200 with a header value that smuggles a second header.
(module
  ;;@memory
  (data (i32.const 1024) "x-ext-onea\0d\0aset-cookie: stolen=1")
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (drop (call $respond (i32.const 200)))
    (i32.store (i32.const 2048) (i32.const 1024))
    (i32.store (i32.const 2052) (i32.const 9))
    (i32.store (i32.const 2056) (i32.const 1033))
    (i32.store (i32.const 2060) (i32.const 23))
    (i32.store (i32.const 4100) (i32.const 2048))
    (i32.store (i32.const 4104) (i32.const 1))
    (i32.const 4096)))
