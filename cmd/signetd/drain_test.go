package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/p8signet/signet/client"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// managed is a server under a service manager, which is the test: it has the socket to which the server says how it is.
type managed struct {
	*victim
	socket *net.UnixConn
	stderr bytes.Buffer
}

// manage makes a vault whose config has these lines more, and starts the server.
func manage(t *testing.T, lines string, env ...string) *managed {
	t.Helper()
	m := &managed{victim: &victim{t: t, dir: filepath.Join(t.TempDir(), "vault"), program: filepath.Join(t.TempDir(), "signetd")}}
	m.run("go", "build", "-o", m.program, ".")
	m.run(m.program, "init", "--dir", m.dir, "--listen", "127.0.0.1:0")
	config := filepath.Join(m.dir, "signetd.yaml")
	f, err := os.OpenFile(config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(lines); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "notify")
	if m.socket, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.socket.Close() })
	m.server = exec.Command(m.program, "serve", "--config", config)
	m.server.Env = append(append(os.Environ(), "NOTIFY_SOCKET="+path), env...)
	m.server.Stderr = &m.stderr
	if err := m.server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.server.Process.Kill() })
	return m
}

// hear waits for a message that begins so, and answers it and those before it.
func (m *managed) hear(want string) (heard []string) {
	m.t.Helper()
	if err := m.socket.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		m.t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for {
		n, err := m.socket.Read(buf)
		if err != nil {
			m.t.Fatalf("waiting to hear %s: %v; heard %q\n%s", want, err, heard, &m.stderr)
		}
		heard = append(heard, string(buf[:n]))
		if strings.HasPrefix(string(buf[:n]), want) {
			return heard
		}
	}
}

func (m *managed) signal(s syscall.Signal) {
	m.t.Helper()
	if err := m.server.Process.Signal(s); err != nil {
		m.t.Fatal(err)
	}
}

// exit waits for the end of the process and answers its exit code, -1 for a signal.
func (m *managed) exit() int {
	m.t.Helper()
	late := time.AfterFunc(60*time.Second, func() { _ = m.server.Process.Signal(syscall.SIGQUIT) })
	defer late.Stop()
	err := m.server.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.t.Fatal(err)
	}
	return m.server.ProcessState.ExitCode()
}

// conn is a connection as the operator, below the client.
func (m *managed) conn() *grpc.ClientConn {
	m.t.Helper()
	in := func(name string) string { return filepath.Join(m.dir, "operator", name) }
	conf, err := client.LoadConfig(in("client.yaml"))
	if err != nil {
		m.t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(in("cert.pem"), in("key.pem"))
	if err != nil {
		m.t.Fatal(err)
	}
	ca, err := os.ReadFile(in("ca.pem"))
	if err != nil {
		m.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	conn, err := grpc.NewClient(conf.Addresses[0], grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: roots,
	})))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// underWay begins a GetStatus, of which nothing but its head is sent, and returns when the server has it.
func underWay(ctx context.Context, t *testing.T, conn *grpc.ClientConn) grpc.ClientStream {
	t.Helper()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{}, signetv1.SystemService_GetStatus_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	// A whole call after it, on the same connection: whoever has answered that has the one before.
	if _, err := signetv1.NewSystemServiceClient(conn).GetStatus(ctx, &signetv1.GetStatusRequest{}); err != nil {
		t.Fatal(err)
	}
	return stream
}

// TestDrain stops a server that has a call under way: nobody new comes in, who watches health hears it, the call ends well.
func TestDrain(t *testing.T) {
	m := manage(t, "")
	m.hear("READY=1")
	conn := m.conn()
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if is, err := watch.Recv(); err != nil || is.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("health is %v, %v", is.GetStatus(), err)
	}
	call := underWay(t.Context(), t, conn)
	m.signal(syscall.SIGTERM)
	heard := m.hear("STOPPING=1")
	if last := heard[len(heard)-1]; !strings.Contains(last, "EXTEND_TIMEOUT_USEC=25000000") {
		t.Errorf("it did not say how long it may take: %q", last)
	}
	if is, err := watch.Recv(); err != nil || is.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("who watches health heard %v, %v", is.GetStatus(), err)
	}
	if _, err := watch.Recv(); status.Code(err) == codes.OK {
		t.Error("the watch goes on")
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", conn.Target())
		if err != nil {
			break
		}
		_ = c.Close()
		if time.Now().After(deadline) {
			t.Fatal("it still takes connections")
		}
	}
	var is signetv1.Status
	if err := errors.Join(call.SendMsg(&signetv1.GetStatusRequest{}), call.CloseSend(), call.RecvMsg(&is)); err != nil || is.GetVaultId() == "" {
		t.Errorf("the call that was under way: %v, %v", &is, err)
	}
	if code := m.exit(); code != 0 {
		t.Errorf("exit code %d\n%s", code, &m.stderr)
	}
	m.fsck()
}

// TestDrainEnds stops a server that has a call which does not end.
func TestDrainEnds(t *testing.T) {
	m := manage(t, "drain: 300ms\n")
	m.hear("READY=1")
	call := underWay(t.Context(), t, m.conn())
	m.signal(syscall.SIGTERM)
	began := time.Now()
	if code := m.exit(); code != 1 || !strings.Contains(m.stderr.String(), "cut off") || !strings.Contains(m.stderr.String(), "300ms") {
		t.Errorf("exit code %d after %s\n%s", code, time.Since(began), &m.stderr)
	}
	if err := call.RecvMsg(&signetv1.Status{}); status.Code(err) != codes.Unavailable {
		t.Errorf("the call that was cut off: %v, want Unavailable", err)
	}
	m.fsck()
}

// TestSecondSignal: whoever asks twice does not wait.
func TestSecondSignal(t *testing.T) {
	m := manage(t, "drain: 10m\n")
	m.hear("READY=1")
	underWay(t.Context(), t, m.conn())
	m.signal(syscall.SIGTERM)
	m.hear("STOPPING=1")
	m.signal(syscall.SIGTERM)
	if code := m.exit(); code != -1 {
		t.Errorf("exit code %d, want an end by the signal\n%s", code, &m.stderr)
	}
	m.fsck()
}

// TestWatchdog: the service manager hears from a server that lives, and while it drains, too.
func TestWatchdog(t *testing.T) {
	m := manage(t, "drain: 3s\n", "WATCHDOG_USEC=1500000")
	m.hear("READY=1")
	for range 3 {
		m.hear("WATCHDOG=1")
	}
	underWay(t.Context(), t, m.conn())
	m.signal(syscall.SIGTERM)
	m.hear("STOPPING=1")
	m.hear("WATCHDOG=1")
	m.exit()
}
