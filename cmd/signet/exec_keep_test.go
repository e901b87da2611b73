package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/p8signet/signet/client"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// mintServer answers every mint with a token of ten minutes, or with what fails is.
type mintServer struct {
	grpc.ClientConnInterface

	mu    sync.Mutex
	fails error
	n     int // calls
}

func (m *mintServer) set(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails = err
}

func (m *mintServer) calls() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.n
}

func (m *mintServer) Invoke(_ context.Context, _ string, _, reply any, _ ...grpc.CallOption) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n++
	if m.fails != nil {
		return m.fails
	}
	text := fmt.Sprintf("token.number.%d", m.n)
	sum := sha256.Sum256([]byte(text))
	now := time.Now()
	msg, ok := reply.(proto.Message)
	if !ok {
		return errors.New("no message")
	}
	proto.Merge(msg, &signetv1.MintTokenResponse{
		Credential: &signetv1.MintTokenResponse_BearerToken{BearerToken: &signetv1.BearerToken{Token: text}},
		IssueTime:  timestamppb.New(now.Add(-30 * time.Second)), ExpireTime: timestamppb.New(now.Add(10 * time.Minute)),
		UseUntil: timestamppb.New(now.Add(10 * time.Minute)), RefreshTime: timestamppb.New(now.Add(5 * time.Minute)), Sha256: hex.EncodeToString(sum[:]),
	})
	return nil
}

// TestKeeper: a job of a day, whose server goes away for an hour and whose profile is denied for another.
func TestKeeper(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	synctest.Test(t, func(t *testing.T) {
		server := &mintServer{}
		cl, err := client.New(server)
		if err != nil {
			t.Fatal(err)
		}
		source := cl.TokenSource("release", client.TokenSourceOptions{})
		defer source.Close()
		var said []string
		k := &keeper{source: source, file: file, denied: make(chan struct{}, 1), say: func(format string, args ...any) {
			said = append(said, fmt.Errorf(format, args...).Error())
		}}
		first, err := source.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := k.keep(first); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var following sync.WaitGroup
		following.Go(func() { k.follow(ctx, first) })
		defer following.Wait()
		defer cancel()

		// sleep looks every minute whether file and keeper agree, and have a token or not.
		sleep := func(d time.Duration, has bool) {
			t.Helper()
			for end := time.Now().Add(d); time.Now().Before(end); {
				time.Sleep(time.Minute)
				synctest.Wait()
				data, err := os.ReadFile(file)
				got, lost := k.current(t.Context())
				switch {
				case has && (err != nil || lost != nil || got.Text() != string(data)):
					t.Fatalf("the file: %v, the keeper: %v", err, lost)
				case !has && (!errors.Is(err, fs.ErrNotExist) || lost == nil):
					t.Fatalf("the file: %v, the keeper: %v, and there is no token", err, lost)
				}
			}
		}
		expect := func(words ...string) {
			t.Helper()
			ok := len(said) == len(words)
			for i := range min(len(said), len(words)) {
				ok = ok && strings.Contains(said[i], words[i])
			}
			if !ok {
				t.Errorf("said %q, want %q", said, words)
			}
			said = nil
		}

		sleep(5*time.Hour, true)
		if n := server.calls(); n < 5*6 || n > 5*12 {
			t.Errorf("%d mints in five hours", n)
		}
		expect()

		server.set(status.Error(codes.Unavailable, "away"))
		sleep(4*time.Minute, true) // what is left of a token's life, at least
		time.Sleep(6 * time.Minute)
		sleep(time.Hour, false)
		expect("no token any more")
		server.set(nil)
		time.Sleep(time.Minute)
		sleep(time.Hour, true)
		expect("a token again")

		server.set(status.Error(codes.PermissionDenied, "denied"))
		time.Sleep(10 * time.Minute)
		before := server.calls()
		sleep(time.Hour, false)
		if n := server.calls() - before; n > 61 {
			t.Errorf("%d denials in an hour", n)
		}
		expect("no token any more, and its file is removed: denied")
		select {
		case <-k.denied:
		default:
			t.Error("nobody was told of the denial")
		}
		server.set(nil)
		time.Sleep(time.Minute)
		sleep(time.Hour, true)
		expect("a token again")
	})
}

// TestKeeperCannotWrite: the token is handed out over loopback while its file cannot be written.
func TestKeeperCannotWrite(t *testing.T) {
	cl, err := client.New(&mintServer{})
	if err != nil {
		t.Fatal(err)
	}
	source := cl.TokenSource("release", client.TokenSourceOptions{})
	defer source.Close()
	k := &keeper{source: source, file: filepath.Join(t.TempDir(), "missing", "token"), say: func(string, ...any) {}, denied: make(chan struct{}, 1)}
	got, err := source.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := k.keep(got); err == nil {
		t.Fatal("it was written")
	}
	k.lose(errors.New("cannot be written"))
	if _, err := k.current(t.Context()); err != nil {
		t.Error(err)
	}
}

func ask(t *testing.T, method, address, host string, headers map[string]string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

// TestDeskEnds: opened and closed, with a reader under way, it leaves no goroutine.
func TestDeskEnds(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	cl, err := client.New(&mintServer{})
	if err != nil {
		t.Fatal(err)
	}
	source := cl.TokenSource("release", client.TokenSourceOptions{})
	k := &keeper{source: source, file: filepath.Join(t.TempDir(), "token"), say: t.Logf, denied: make(chan struct{}, 1)}
	d, err := openDesk(k)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, body := ask(t, "GET", d.url, "", map[string]string{"Authorization": d.auth}); code != 200 || !strings.HasPrefix(body, "token.") {
		t.Errorf("%d %s", code, body)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	source.Close()
	goleak.VerifyNone(t, ignore)
}

// TestGuardObeys: it acts on what it was told last, on nothing that was cut off, and touches nothing without being told.
func TestGuardObeys(t *testing.T) {
	dir := t.TempDir()
	made := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Join(path, "below"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	here := func(path string) bool { _, err := os.Stat(path); return err == nil }
	one := made("a \"strange\"\nname")
	for _, orders := range []string{"", "nonsense\n", "remove " + one + "\n", "kill \"0\"\nkill \"1\"\nkill \"-1\"\nkill \"x\"\n", fmt.Sprintf("remove %q", one)[:12]} {
		if obey(strings.NewReader(orders)); !here(one) {
			t.Fatalf("%q removed it", orders)
		}
	}
	if obey(strings.NewReader(fmt.Sprintf("remove %q\nkill \"0\"\n", one))); here(one) {
		t.Error("it was not removed")
	}
}

// TestHideRefuses: where others can rename, no token is put, even if there is no other place.
func TestHideRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if h, err := hideIn(dir, time.Now()); err == nil {
		t.Errorf("it was put into %s", h.dir)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left there: %v, %v", left, err)
	}
}
