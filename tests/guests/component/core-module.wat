;; A core module where a component is due.
(module
  (memory (export "memory") 1)
  (func (export "handler") (param i32) (result i32) (i32.const 0)))
