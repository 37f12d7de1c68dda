// Package kafka is agentrisk's way to Apache Kafka: membership in a consumer group, fetches that keep what the
// broker sent, commits whose outcome is known or said to be unknown, topics and their bounds, and writes that
// are acknowledged.
//
// It stands on kafka-go's Transport (connections, TLS, SASL, routing) and ConsumerGroup (join, sync, heartbeat).
// It does not use its Reader, whose commits cross generations, nor its two read paths, which lose the broker's
// append time. A [Client] fetches raw record sets and a [Decoder] reads them; a [Group] hands out generations;
// [Client.Commit] stores a position and a plan under one of them.
//
// Importing the package registers a response type of our own for Kafka's Fetch request. kafka-go's
// kafka.Client.Fetch asserts its own type and panics in such a process: [Client.Fetch] is the only one.
package kafka
