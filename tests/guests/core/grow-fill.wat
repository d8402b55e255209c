;; Takes memory 1 MiB at a time and touches every page of it, until it is refused; then aborts, as real guests do.
(module
  ;;@memory
  ;;@realloc
  (func (export "handler") (param $request i32) (result i32)
    (local $at i32)
    (loop $more
      (local.set $at (memory.grow (i32.const 16)))
      (if (i32.eq (local.get $at) (i32.const -1)) (then (unreachable)))
      (memory.fill (i32.shl (local.get $at) (i32.const 16)) (i32.const 165) (i32.const 1048576))
      (br $more))
    (unreachable)))
