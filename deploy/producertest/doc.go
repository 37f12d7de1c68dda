// Package producertest lets the producers that providers use write to a real Apache Kafka, and reads with agentrisk's
// decoders what they wrote: the Kafka exporter of the OpenTelemetry Collector and the CloudEvents SDK for Go. It is a
// module of its own, because the Collector brings two hundred others along: `make producers` runs it.
package producertest
