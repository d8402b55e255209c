;; Burns CPU, then answers 200: as many thousand turns of a loop as the number at the end of the url.
(module
  ;;@memory
  ;;@realloc
  ;;@respond
  ;;@number
  (func (export "handler") (param $request i32) (result i32)
    (local $turns i64)
    (local.set $turns (i64.mul (i64.extend_i32_u (call $number (local.get $request))) (i64.const 1000)))
    (block $done
      (loop $turn
        (br_if $done (i64.eqz (local.get $turns)))
        (local.set $turns (i64.sub (local.get $turns) (i64.const 1)))
        (br $turn)))
    (call $respond (i32.const 200))))
