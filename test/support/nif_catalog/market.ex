defmodule Foundation.NifCatalog.Market do
  @moduledoc false

  alias Foundation.Native

  @limits {100_000, 5_000}

  def entries, do: deciding() ++ auctions() ++ books() ++ markets() ++ games() ++ assigning() ++ searching()

  defp deciding do
    [
      %{
        nif: {:market_vote, 4},
        scheduler: :dirty_cpu,
        bound: "O(votes · options), 1,000,000 votes, 1,000 options; Schulze also O(options³)",
        args: fn -> [:schulze, 3, [{[0, 1, 2], 2}, {[1, 2, 0], 3}, {[2], 1}], :lowest] end
      },
      %{
        nif: {:market_sample_size, 3},
        scheduler: :normal,
        bound: "O(log population)",
        args: fn -> [10_000, 0.05, 0.05] end
      },
      %{
        nif: {:market_sample_choose, 3},
        scheduler: :dirty_cpu,
        bound: "O(count · log count), at most 1,000,000",
        args: fn -> [10_000, 100, 7] end
      },
      %{
        nif: {:market_sample_decide, 3},
        scheduler: :normal,
        bound: "O(1)",
        args: fn -> [{60, 100, 10_000}, 0.5, 0.05] end
      },
      %{
        nif: {:market_negotiate, 2},
        scheduler: :dirty_cpu,
        bound: "steps and time of its limits; O(deals²), at most 10,000, for Zeuthen",
        args: fn -> [{:improve, [[[1, 5], [4, 2]], [[3, 2], [1, 9]]], [0, 0]}, @limits] end
      }
    ]
  end

  defp auctions do
    [
      %{
        nif: {:market_sealed, 3},
        scheduler: :dirty_cpu,
        bound: "O(bids · log bids), at most 1,000,000",
        args: fn -> [:vickrey, 0, for(bidder <- 1..10, do: {bidder, bidder * 1_000_000})] end
      },
      %{
        nif: {:market_double, 2},
        scheduler: :dirty_cpu,
        bound: "O(bids · log bids), at most 1,000,000",
        args: fn -> [[{1, 9_000_000}, {2, 8_000_000}], [{3, 2_000_000}, {4, 3_000_000}]] end
      },
      %{
        nif: {:market_combinatorial, 5},
        scheduler: :dirty_cpu,
        bound: "steps and time of its limits",
        args: fn ->
          bids = [{0, [0], 5_000_000}, {1, [1], 2_000_000}, {2, [0, 1], 6_000_000}]
          [2, bids, :xor, :vcg, @limits]
        end
      },
      %{
        nif: {:market_open, 1},
        scheduler: :dirty_cpu,
        bound: "O(size of the state), at most 64 MB",
        args: fn -> [english()] end
      },
      %{
        nif: {:market_event, 3},
        scheduler: :dirty_cpu,
        bound: "O(size of the state), at most 64 MB",
        args: fn -> [:english, state(english()), {:bid, 10, 1, 2_000_000}] end
      }
    ]
  end

  defp books do
    [
      %{
        nif: {:market_book_new, 3},
        scheduler: :normal,
        bound: "O(1)",
        args: fn -> [:cancel_incoming, 1, 1_000] end
      },
      %{
        nif: {:market_book_place, 6},
        scheduler: :normal,
        bound: "O(log levels + orders met), at most 256, 20 us for the book; else `:dirty`",
        args: fn -> [book(), 7, :buy, :ioc, 3_000_000, 5] end,
        hot: true
      },
      %{
        nif: {:market_book_place_large, 6},
        scheduler: :dirty_cpu,
        bound: "O(log levels + orders met)",
        args: fn -> [book(), 7, :buy, :ioc, 3_000_000, 5] end
      },
      %{
        nif: {:market_book_place_all, 2},
        scheduler: :dirty_cpu,
        bound: "as `market_book_place_large`, for at most 1,000,000 orders",
        args: fn -> [book(), for(n <- 1..10, do: {n, :sell, :ioc, 2_000_000, 5})] end
      },
      %{
        nif: {:market_book_cancel, 3},
        scheduler: :normal,
        bound: "O(log levels), 20 us for the book",
        args: fn -> [book(), 1, 1] end,
        hot: true
      },
      %{
        nif: {:market_book_replace, 5},
        scheduler: :dirty_cpu,
        bound: "as `market_book_place_large`",
        args: fn -> [book(), 1, 1, 2_000_000, 4] end
      },
      %{
        nif: {:market_book_order, 2},
        scheduler: :normal,
        bound: "O(1), 20 us for the book",
        args: fn -> [book(), 2] end,
        hot: true
      },
      %{
        nif: {:market_book_depth, 2},
        scheduler: :normal,
        bound: "O(levels), at most 100 of each side, 20 us for the book",
        args: fn -> [book(), 10] end,
        hot: true
      }
    ]
  end

  defp markets do
    [
      %{
        nif: {:market_call, 2},
        scheduler: :dirty_cpu,
        bound: "O(orders · log orders), at most 1,000,000",
        args: fn -> [[{1, :buy, 3_000_000, 10}, {2, :sell, 2_000_000, 10}], nil] end
      },
      %{
        nif: {:market_equilibrium, 4},
        scheduler: :dirty_cpu,
        bound: "steps and time of its limits",
        args: fn ->
          traders = [{[1.0, 2.0], [0.5, 0.5], 1.0}, {[2.0, 1.0], [0.3, 0.7], 1.0}]
          [traders, 1.0e-6, 1_000, @limits]
        end
      }
    ]
  end

  defp games do
    [
      %{
        nif: {:market_game, 3},
        scheduler: :dirty_cpu,
        bound: "steps and time of its limits",
        args: fn -> [:nash, {2, 2, [3, 0, 0, 2], [2, 0, 0, 3]}, @limits] end
      },
      %{
        nif: {:market_minimax, 4},
        scheduler: :dirty_cpu,
        bound: "steps and time of its limits",
        args: fn -> [2, 2, [4, 1, 2, 3], @limits] end
      },
      %{
        nif: {:market_shapley, 2},
        scheduler: :dirty_cpu,
        bound: "O(players · 2^players), at most 20",
        args: fn -> [[0, 0, 0, 1_000_000], @limits] end
      },
      %{
        nif: {:market_matching, 4},
        scheduler: :dirty_cpu,
        bound: "O(first · second), at most 100,000,000",
        args: fn -> [[[0, 1], [1, 0]], [[1, 0], [0, 1]], [1, 1], :from_first] end
      },
      %{
        nif: {:market_fair, 2},
        scheduler: :dirty_cpu,
        bound: "O(players² · items)",
        args: fn -> [:adjusted_winner, [[60, 40], [30, 70]]] end
      }
    ]
  end

  defp assigning do
    [
      %{
        nif: {:market_assign, 3},
        scheduler: :dirty_cpu,
        bound: "steps and time of its limits, at most 1,000,000 cells a row",
        args: fn -> [:hungarian, [[4, 1, 3], [2, nil, 5], [3, 2, 2]], @limits] end
      },
      %{
        nif: {:market_assign_tasks, 4},
        scheduler: :dirty_cpu,
        bound: "steps and time of its limits",
        args: fn -> [:auction, [{[0], 10}, {[1], 5}], [{[0, 1], 3, 2}, {[1], 2, 1}], @limits] end
      }
    ]
  end

  defp searching do
    [
      %{
        nif: {:market_search_new, 2},
        scheduler: :dirty_cpu,
        bound: "O(arms, configurations or dimensions²)",
        args: fn -> [{:tpe, [{:real, -5, 10}, {:log, 1.0e-6, 1}, {:integer, 0, 9}, {:choice, 3}]}, 1] end
      },
      %{
        nif: {:market_search_ask, 1},
        scheduler: :dirty_cpu,
        bound: "O(arms); O(dimensions · 1,000 scores); O(dimensions²)",
        args: fn -> [search()] end
      },
      %{
        nif: {:market_search_tell, 3},
        scheduler: :dirty_cpu,
        bound: "O(log open suggestions); O(dimensions³) for CMA-ES",
        args: fn ->
          search = search()
          {:ok, %{id: id}} = Native.market_search_ask(search)
          [search, id, 0.5]
        end,
        consumes: true
      },
      %{
        nif: {:market_search_status, 1},
        scheduler: :dirty_cpu,
        bound: "O(arms)",
        args: fn -> [search()] end
      },
      %{
        nif: {:market_search_dump, 1},
        scheduler: :dirty_cpu,
        bound: "O(size of the state)",
        args: fn -> [search()] end
      },
      %{
        nif: {:market_search_load, 1},
        scheduler: :dirty_cpu,
        bound: "O(size of the state), at most 64 MB",
        args: fn -> [Native.market_search_dump(search())] end
      }
    ]
  end

  defp english, do: {:english, 1_000_000, 0, 1_000_000, 60_000, 5_000}

  defp state(description) do
    {:ok, state} = Native.market_open(description)
    state
  end

  defp book do
    {:ok, book} = Native.market_book_new(:cancel_incoming, 1, 100_000)

    for n <- 1..100 do
      {:ok, _} = Native.market_book_place(book, n, :buy, :limit, 2_000_000 - n, 10)
      {:ok, _} = Native.market_book_place(book, n, :sell, :limit, 4_000_000 + n, 10)
    end

    book
  end

  defp search do
    {:ok, search} = Native.market_search_new({:bandit, :ucb1, 5}, 1)
    search
  end
end
