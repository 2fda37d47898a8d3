[
  inputs: [
    "{mix,.formatter}.exs",
    "{lib,test,bench}/**/*.{ex,exs}",
    "examples/*/{mix,.formatter,run}.exs",
    "examples/*/{config,lib,test}/**/*.{ex,exs}"
  ],
  line_length: 110,
  locals_without_parens: [field: 2, field: 3, defconfig: 1, defconfig: 2],
  export: [locals_without_parens: [field: 2, field: 3, defconfig: 1, defconfig: 2]]
]
