;; Logs "line" as often as the number at the end of the url says, then answers 200.
(module
  (import "alga:extension/logging" "log-info" (func $log (param i32 i32)))
  ;;@memory
  (data (i32.const 1024) "line")
  ;;@realloc
  ;;@respond
  ;;@number
  (func (export "handler") (param $request i32) (result i32)
    (local $left i32)
    (local.set $left (call $number (local.get $request)))
    (block $done
      (loop $again
        (br_if $done (i32.eqz (local.get $left)))
        (call $log (i32.const 1024) (i32.const 4))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $again)))
    (call $respond (i32.const 200))))
