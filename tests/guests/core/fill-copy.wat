;; Grows as far as it may, then fills and copies the whole memory for ever: bulk instructions do not look at the clock.
(module
  ;;@memory
  ;;@realloc
  (func (export "handler") (param $request i32) (result i32)
    (local $bytes i32)
    (loop $more
      (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    (local.set $bytes (i32.shl (memory.size) (i32.const 16)))
    (loop $for_ever
      (memory.fill (i32.const 0) (i32.const 90) (local.get $bytes))
      (memory.copy (i32.const 0) (i32.const 1) (i32.sub (local.get $bytes) (i32.const 1)))
      (br $for_ever))
    (unreachable)))
