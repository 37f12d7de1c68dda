package main

// The versions and digests of everything that is downloaded, in one place.
const (
	kafkaVersion   = "4.3.1"
	log4jVersion   = "2.25.1"
	chdbVersion    = "26.7.3-stable.1"
	kafkaJarsCount = 92
)

// kafkaJarsDigest is SHA-256 over the sorted lines "sha256  name" of the jars of kafkaVersion.
const kafkaJarsDigest = "4515786924186d19174f4096c883eda65f6e9795b793dea3a9912e126c152b91"

// chdbPackages are the packages that carry the ClickHouse engine, by operating system and processor. Only the
// platform that was run is pinned; another is added with the digest that `npm view NAME@VERSION dist.integrity` says.
var chdbPackages = map[string]struct{ name, integrity string }{
	"linux/amd64": {"@chdb/lib-linux-x64-gnu", "sha512-XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw=="},
}

const kafkaPOM = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>` + kafkaVersion + `</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>` + kafkaVersion + `</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>` + log4jVersion + `</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>` + log4jVersion + `</version></dependency>
  </dependencies>
</project>
`
