// Web is the workload behind the lab's Services. It says who answered and whom
// it saw:
//
//	HTTP /          pod, node and the client's address, one line
//	HTTP /healthz   200
//	TCP and UDP     the first line to TCP, and each datagram, is answered by the
//	                same line as HTTP /; what follows on TCP is echoed
//
// It listens on every address, of both families. PORT (8080) is HTTP's, ECHO_PORT
// (7777) is that of TCP and UDP. POD_NAME and NODE_NAME come from the pod's spec.
package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	host, _ := os.Hostname()
	s := server{
		pod:   cmp.Or(os.Getenv("POD_NAME"), host),
		node:  cmp.Or(os.Getenv("NODE_NAME"), "unknown"),
		delay: stopDelay(os.Getenv("STOP_DELAY")),
	}
	if err := s.run(ctx, cmp.Or(os.Getenv("PORT"), "8080"), cmp.Or(os.Getenv("ECHO_PORT"), "7777")); err != nil {
		logger.Error("web", "err", err)
		os.Exit(1)
	}
}

type server struct {
	pod, node string
	// delay is how long it goes on serving after it was told to stop, so that
	// every node has heard that the endpoint is going.
	delay time.Duration
}

func stopDelay(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0
	}
	return d
}

// run serves until ctx is done and the delay is over.
func (s server) run(ctx context.Context, port, echoPort string) error {
	httpListener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	echoListener, err := net.Listen("tcp", ":"+echoPort)
	if err != nil {
		return err
	}
	packets, err := net.ListenPacket("udp", ":"+echoPort)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, s.line(r.RemoteAddr)) })
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	var group errgroup.Group
	group.Go(func() error { return ignoreClosed(web.Serve(httpListener)) })
	group.Go(func() error { return s.echoTCP(echoListener) })
	group.Go(func() error { return s.echoUDP(packets) })
	group.Go(func() error {
		<-ctx.Done()
		<-time.After(s.delay)
		return errors.Join(web.Close(), echoListener.Close(), packets.Close())
	})
	return group.Wait()
}

// line is the answer to a client.
func (s server) line(client string) string {
	return fmt.Sprintf("pod=%s node=%s client=%s\n", s.pod, s.node, client)
}

func (s server) echoTCP(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return ignoreClosed(err)
		}
		go func() {
			defer conn.Close()
			r := bufio.NewReader(conn)
			if _, err := r.ReadString('\n'); err != nil {
				return
			}
			if _, err := io.WriteString(conn, s.line(conn.RemoteAddr().String())); err == nil {
				io.Copy(conn, r)
			}
		}()
	}
}

func (s server) echoUDP(c net.PacketConn) error {
	buf := make([]byte, 64<<10)
	for {
		_, from, err := c.ReadFrom(buf)
		if err != nil {
			return ignoreClosed(err)
		}
		c.WriteTo([]byte(s.line(from.String())), from)
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
