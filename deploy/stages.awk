# Turns the lines of BenchmarkStages into a table: each line holds the stages before it, so a stage is the difference.
BEGIN {
  print "| feed | stage | ns an event | bytes an event | allocations an event |"
  print "|---|---|---|---|---|"
}
/^BenchmarkStages/ {
  split($1, name, "/")
  sub(/-[0-9]+$/, "", name[3])
  for (i = 2; i < NF; i++) v[$(i + 1)] = $i
  if (name[2] != feed) { feed = name[2]; ns = bytes = allocs = 0 }
  printf "| %s | %s | %.0f | %.0f | %.2f |\n", feed, name[3], v["ns/event"] - ns, v["B/event"] - bytes, v["allocs/event"] - allocs
  ns = v["ns/event"]; bytes = v["B/event"]; allocs = v["allocs/event"]
}
/^FAIL|panic/ { print; failed = 1 }
END { exit failed }
