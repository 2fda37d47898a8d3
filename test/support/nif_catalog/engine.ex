defmodule Foundation.NifCatalog.Engine do
  @moduledoc false

  def entries do
    [
      %{nif: {:engine_version, 0}, scheduler: :normal, bound: "O(1)", args: fn -> [] end},
      %{
        nif: {:engine_log_attach, 2},
        scheduler: :normal,
        bound: "O(1)",
        args: fn -> [Process.whereis(Foundation.Engine.Log), 3] end
      },
      %{nif: {:engine_log_level, 1}, scheduler: :normal, bound: "O(1)", args: fn -> [3] end},
      %{
        nif: {:engine_log_write, 2},
        scheduler: :normal,
        bound: "O(bytes), a full queue drops the line",
        args: fn -> [1, "a line below the level"] end
      },
      %{nif: {:engine_log_dropped, 0}, scheduler: :normal, bound: "O(1)", args: fn -> [] end},
      %{nif: {:engine_nifs, 0}, scheduler: :normal, bound: "O(functions)", args: fn -> [] end},
      %{nif: {:engine_panic, 0}, scheduler: :normal, bound: "O(1), raises", args: fn -> [] end, skip: true},
      %{
        nif: {:engine_key_roundtrip, 1},
        scheduler: :normal,
        bound: "O(size), at most 4096 bytes and 32 levels",
        args: fn -> [{:openai, "gpt", 4}] end,
        hot: true
      }
    ]
  end
end
