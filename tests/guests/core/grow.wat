;; Asks for 1 GiB of memory at once and answers 200 with "refused" or "granted".
(module
  ;;@memory
  (data (i32.const 1024) "refusedgranted")
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (if (result i32) (i32.eq (memory.grow (i32.const 16384)) (i32.const -1))
      (then (call $respond_body (i32.const 200) (i32.const 1024) (i32.const 7)))
      (else (call $respond_body (i32.const 200) (i32.const 1031) (i32.const 7))))))
