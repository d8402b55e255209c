;; Answers 200, then loops in the clean-up that runs after the answer was read.
(module
  ;;@memory
  ;;@respond
  (global $heap (mut i32) (i32.const 8192))
  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $start i32)
    (local.set $start (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $start) (local.get $size)))
    (local.get $start))
  (func (export "cabi_post_handler") (param i32)
    (loop $for_ever (br $for_ever)))
  (func (export "handler") (param $request i32) (result i32)
    (call $respond (i32.const 200))))
