;; Answers 200 with a body of as many zero bytes as the number at the end of the url says; 507 where memory was refused.
(module
  ;;@memory
  ;;@realloc
  ;;@respond
  ;;@number
  (func (export "handler") (param $request i32) (result i32)
    (local $length i32)
    (local $start i32)
    (local.set $length (call $number (local.get $request)))
    (local.set $start (i32.shl (memory.size) (i32.const 16)))
    (if (result i32)
      (i32.eq
        (memory.grow (i32.shr_u (i32.add (local.get $length) (i32.const 65535)) (i32.const 16)))
        (i32.const -1))
      (then (call $respond (i32.const 507)))
      (else (call $respond_body (i32.const 200) (local.get $start) (local.get $length))))))
