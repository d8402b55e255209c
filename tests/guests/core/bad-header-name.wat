;; Answers 200 with a header name that no HTTP field may have.
(module
  ;;@memory
  (data (i32.const 1024) "x ext: badvalue")
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (drop (call $respond (i32.const 200)))
    (i32.store (i32.const 2048) (i32.const 1024))
    (i32.store (i32.const 2052) (i32.const 10))
    (i32.store (i32.const 2056) (i32.const 1034))
    (i32.store (i32.const 2060) (i32.const 5))
    (i32.store (i32.const 4100) (i32.const 2048))
    (i32.store (i32.const 4104) (i32.const 1))
    (i32.const 4096)))
