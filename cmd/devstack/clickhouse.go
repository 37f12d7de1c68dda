package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"github.com/ebitengine/purego"
)

// findClickHouse returns the program on the PATH, else the library, which it brings if need be.
func findClickHouse(ctx context.Context) (string, error) {
	for _, name := range []string{"clickhouse-server", "clickhouse"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return fetchCHDB(ctx)
}

func (s *stack) clickhouse() *server {
	data, conf := filepath.Join(s.dir, "clickhouse"), filepath.Join(s.dir, "clickhouse.xml")
	srv := &server{name: "clickhouse", dir: s.dir, ready: func(ctx context.Context) error { return clickHouseAnswers(ctx, s.address(2), s.address(3)) }}
	_ = os.MkdirAll(data, 0o755)
	native, web := s.State.Ports[2], s.State.Ports[3]
	library := !strings.HasPrefix(filepath.Base(s.State.ClickHouse), "clickhouse")
	if library { // which serves behind a front
		native, web = s.State.Ports[4], s.State.Ports[5]
	}
	if _, err := os.Stat(conf); err != nil {
		secure := ""
		if s.State.Secure {
			secure = secureClickHouse
		}
		_ = os.WriteFile(conf, fmt.Appendf(nil, clickHouseConfig, native, web, data, data, filepath.Join(s.dir, "users.xml"), secure), 0o644)
		_ = os.WriteFile(filepath.Join(s.dir, "users.xml"), []byte(clickHouseUsers), 0o644)
	}
	switch filepath.Base(s.State.ClickHouse) {
	case "clickhouse-server":
		srv.command = []string{s.State.ClickHouse, "--config-file", conf}
	case "clickhouse":
		srv.command = []string{s.State.ClickHouse, "server", "--config-file", conf}
	default:
		self, _ := os.Executable()
		srv.command = []string{self, "serve-clickhouse", s.State.ClickHouse, conf, data, s.address(2), s.address(4), s.address(3), s.address(5)}
	}
	if s.State.Secure {
		srv.command = s.behindTLS(srv.command)
	}
	return srv
}

const clickHouseConfig = `<clickhouse>
    <logger><level>warning</level><console>1</console></logger>
    <listen_host>127.0.0.1</listen_host>
    <tcp_port>%d</tcp_port>
    <http_port>%d</http_port>
    <path>%s/</path>
    <tmp_path>%s/tmp/</tmp_path>
    <mark_cache_size>67108864</mark_cache_size>
    <max_server_memory_usage>4294967296</max_server_memory_usage>
    <background_pool_size>4</background_pool_size>
    <user_directories><users_xml><path>%s</path></users_xml></user_directories>
    <default_profile>default</default_profile>
    <default_database>default</default_database>%s
</clickhouse>
`

const clickHouseUsers = `<clickhouse>
    <profiles><default/></profiles>
    <users><default><no_password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default></users>
    <quotas><default/></quotas>
</clickhouse>
`

// clickHouseAnswers reports whether both ports serve.
func clickHouseAnswers(ctx context.Context, native, web string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+web+"/", strings.NewReader("SELECT 1"))
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); strings.TrimSpace(string(b)) != "1" {
		return fmt.Errorf("clickhouse says %q", b)
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", native)
	if err != nil {
		return err
	}
	return c.Close()
}

// hold is the query that keeps the library serving: it never ends.
const hold = "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP; SELECT sleepEachRow(3) FROM system.numbers SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 0 FORMAT Null"

// superviseClickHouse runs the library in a child behind fronts, and starts it again should it abort all the same. A
// signal to the group reaches both. args are library, configuration and data, then pairs of a public and an inner address.
func superviseClickHouse(args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	library, fronts := args[:min(3, len(args))], args[min(3, len(args)):]
	for pair := range slices.Chunk(fronts, 2) {
		l, err := front(pair[0], pair[len(pair)-1])
		if err != nil {
			return err
		}
		defer l.Close()
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, os.Interrupt, syscall.SIGTERM)
	for {
		cmd := exec.Command(self, append([]string{"serve-clickhouse-library"}, library...)...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			return err
		}
		err := cmd.Wait()
		select {
		case <-end:
			return nil
		default:
		}
		status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if !ok || !status.Signaled() || status.Signal() != syscall.SIGABRT {
			return err
		}
		fmt.Fprintln(os.Stderr, "devstack: the ClickHouse library aborted and is started again")
	}
}

// serveClickHouse is the child process that the library runs in: it installs signal handlers of its own and does
// not come back before the query ends.
func serveClickHouse(args []string) error {
	if len(args) != 3 {
		return errors.New("want: library configuration data")
	}
	signal.Reset(os.Interrupt, syscall.SIGTERM)
	runtime.LockOSThread()
	lib, err := purego.Dlopen(args[0], purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return fmt.Errorf("load the ClickHouse library: %w", err)
	}
	var query func(int32, unsafe.Pointer) unsafe.Pointer
	var failure func(unsafe.Pointer) string
	purego.RegisterLibFunc(&query, lib, "chdb_query_cmdline")
	purego.RegisterLibFunc(&failure, lib, "chdb_result_error")
	argv := cStrings("clickhouse", "--log-level", "warning", "--config-file", args[1], "--path", args[2], "--query", hold)
	res := query(int32(len(argv)-1), unsafe.Pointer(&argv[0]))
	if text := failure(res); text != "" {
		return errors.New(text)
	}
	return nil
}

func cStrings(list ...string) []*byte {
	ptrs := make([]*byte, len(list)+1)
	for i, s := range list {
		b := append([]byte(s), 0)
		ptrs[i] = &b[0]
	}
	return ptrs
}

// wait blocks until the process is asked to end.
func wait() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	<-c
}
