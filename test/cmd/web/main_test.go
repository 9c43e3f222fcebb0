package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// freePort finds a port that nothing listens on, for TCP.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestServer(t *testing.T) {
	port, echo := freePort(t), freePort(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server{pod: "p", node: "n"}.run(ctx, port, echo) }()

	var resp *http.Response
	for {
		var err error
		if resp, err = http.Get("http://127.0.0.1:" + port + "/"); err == nil {
			break
		}
		select {
		case err := <-done:
			t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	const want = "pod=p node=n client=127.0.0.1:"
	if err != nil || !strings.HasPrefix(string(body), want) {
		t.Errorf("HTTP: %q, %v", body, err)
	}
	for network, lines := range map[string][]string{"tcp": {want, "echo me\n"}, "udp": {want}} {
		conn, err := net.Dial(network, "127.0.0.1:"+echo)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Write([]byte("hello\n")); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(conn)
		for i, line := range lines {
			got, err := r.ReadString('\n')
			if err != nil || !strings.HasPrefix(got, line) {
				t.Errorf("%s: %q, %v, want %q", network, got, err, line)
			}
			if i+1 < len(lines) {
				if _, err := conn.Write([]byte("echo me\n")); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("stopped with %v", err)
	}
}
