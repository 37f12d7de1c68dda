package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// cached returns the cache folder of that name, made by fill if it is not there yet. It appears whole or not at
// all, and two processes at once make it once.
func cached(name string, fill func(tmp string) error) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	base = filepath.Join(base, "agentrisk")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", err
	}
	dir := filepath.Join(base, name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(dir); err == nil { // another process was faster
		return dir, nil
	}
	tmp, err := os.MkdirTemp(base, name+".part-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := fill(tmp); err != nil {
		return "", err
	}
	return dir, os.Rename(tmp, dir)
}

// fetchKafka brings Kafka's jars and returns their folder.
func fetchKafka(ctx context.Context) (string, error) {
	return cached("kafka-"+kafkaVersion, func(tmp string) error {
		if err := os.WriteFile(filepath.Join(tmp, "pom.xml"), []byte(kafkaPOM), 0o644); err != nil {
			return err
		}
		if err := runWatched(ctx, tmp, tmp, fmt.Sprintf("Apache Kafka %s from Maven (54 MB)", kafkaVersion),
			"mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory="+tmp); err != nil {
			return err
		}
		return checkJars(tmp)
	})
}

func checkJars(dir string) error {
	jars, err := filepath.Glob(filepath.Join(dir, "*.jar"))
	if err != nil {
		return err
	}
	slices.Sort(jars)
	all := sha256.New()
	for _, jar := range jars {
		f, err := os.Open(jar)
		if err != nil {
			return err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return err
		}
		fmt.Fprintf(all, "%x  %s\n", h.Sum(nil), filepath.Base(jar))
	}
	if got := hex.EncodeToString(all.Sum(nil)); got != kafkaJarsDigest || len(jars) != kafkaJarsCount {
		return fmt.Errorf("the %d jars of Kafka have digest %s, pinned are %d with %s: not used", len(jars), got, kafkaJarsCount, kafkaJarsDigest)
	}
	return nil
}

// fetchCHDB brings the ClickHouse library and returns its path.
func fetchCHDB(ctx context.Context) (string, error) {
	pkg, ok := chdbPackages[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		return "", fmt.Errorf("no ClickHouse library is pinned for %s/%s: put clickhouse on the PATH, or set CLICKHOUSE_* of a server in the configuration", runtime.GOOS, runtime.GOARCH)
	}
	if _, err := exec.LookPath("npm"); err != nil {
		return "", errors.New("ClickHouse is neither on the PATH nor can npm bring it: install Node.js with npm (apt-get install npm), or clickhouse-server; without it only `agentrisk score` and `agentrisk rules` work")
	}
	dir, err := cached("chdb-"+chdbVersion, func(tmp string) error {
		if err := runWatched(ctx, tmp, tmp, fmt.Sprintf("ClickHouse %s from npm (178 MB)", chdbVersion),
			"npm", "pack", "--silent", "--pack-destination", tmp, pkg.name+"@"+chdbVersion); err != nil {
			return err
		}
		archives, err := filepath.Glob(filepath.Join(tmp, "*.tgz"))
		if err != nil || len(archives) != 1 {
			return fmt.Errorf("npm pack left %d archives", len(archives))
		}
		defer os.Remove(archives[0])
		return unpackLibrary(archives[0], pkg.integrity, filepath.Join(tmp, "libchdb.so"))
	})
	return filepath.Join(dir, "libchdb.so"), err
}

// unpackLibrary takes libchdb.so out of the archive, once the archive is what was pinned.
func unpackLibrary(archive, integrity, target string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha512.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := "sha512-" + base64.StdEncoding.EncodeToString(h.Sum(nil)); got != integrity {
		return fmt.Errorf("the archive has integrity %s, pinned is %s: not used", got, integrity)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for t := tar.NewReader(z); ; {
		head, err := t.Next()
		if err != nil {
			return fmt.Errorf("libchdb.so is not in the archive: %w", err)
		}
		if !strings.HasSuffix(head.Name, "/libchdb.so") {
			continue
		}
		out, err := os.Create(target)
		if err != nil {
			return err
		}
		if _, err := io.Copy(out, t); err != nil {
			out.Close()
			return err
		}
		return out.Close()
	}
}

// runWatched runs a download and tells how far it is by what has arrived in dir.
func runWatched(ctx context.Context, cwd, dir, what string, name string, args ...string) error {
	fmt.Fprintf(os.Stderr, "devstack: brings %s\n", what)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = cwd
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	began := time.Now()
	for {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", name, err, strings.TrimSpace(out.String()))
			}
			fmt.Fprintf(os.Stderr, "devstack: %s: done after %s\n", what, time.Since(began).Round(time.Second))
			return nil
		case <-time.After(2 * time.Second):
			fmt.Fprintf(os.Stderr, "devstack: %s: %d MB after %s\n", what, size(dir)>>20, time.Since(began).Round(time.Second))
		}
	}
}

func size(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}
