defmodule Foundation.Distributed.Clusters.Refused do
  @moduledoc false
  # What it means that links were refused, by the reason that the fabric counts them under.

  import Foundation.Cluster.Doctor.Finding

  alias Foundation.Cluster.Doctor.Finding

  # {what is said of the other side, what to change}.
  @reasons %{
    "stranger" =>
      {"has no certificate of this cluster's authority: its secret is another",
       "give all nodes of the cluster the same secret; while it is exchanged, accept: the other one"},
    "expired" =>
      {"has a certificate that is expired or not yet valid",
       "set the clocks right; renew the certificates where they are from files"},
    "foreign_cluster" =>
      {"is of another cluster", "give the two clusters ports, or seeds, that are not each other's"},
    "wrong_name" =>
      {"is not the node that was expected there",
       "see that no address was taken over by another node, and that certificates name their nodes"},
    "replay" =>
      {"has said again what was said before",
       "see that no proxy sends packets again, and that no two nodes have one name"},
    "malformed" =>
      {"speaks something else, or another version",
       "see what connects to this port; bring Foundation to one version"},
    "too_slow" => {"was too slow", "look at the load of both nodes and at the network in between"},
    "too_many" =>
      {"tried too often", "see who does, by the log; the other findings may say why it is refused"},
    "oversized" => {"sent more than is allowed", "see what connects to this port"},
    "gone" =>
      {"went away before it had shown who it is",
       "one that has another secret does not believe this node, and goes: give all nodes of the cluster the same secret"}
  }

  @doc "One finding for each reason that links were refused for since the start."
  @spec findings([{atom | String.t(), non_neg_integer}]) :: [Finding.t()]
  def findings(refused) do
    for {reason, count} <- refused, count > 0, {says, change} <- List.wrap(@reasons["#{reason}"]) do
      warning(
        :links,
        :"refused_#{reason}",
        "of #{count} links refused since the start the other side #{says}",
        change
      )
    end
  end
end
