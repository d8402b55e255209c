;; Grows its memory to hold a body of 100 MB and answers with it; 502 where the memory was refused.
(module
  ;;@memory
  ;;@realloc
  ;;@respond
  (func (export "handler") (param $request i32) (result i32)
    (if (result i32) (i32.eq (memory.grow (i32.const 1530)) (i32.const -1))
      (then (call $respond (i32.const 507)))
      (else (call $respond_body (i32.const 200) (i32.const 0) (i32.const 100000000))))))
