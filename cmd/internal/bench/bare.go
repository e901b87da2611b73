package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/timestamppb"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// bare is the yardstick: the least that a server can do and still be called one. It speaks the same method over the same
// mTLS, signs a JWT with the usual library and appends a line that it group-fsyncs. It knows no policy, keeps no key at
// rest, hashes nothing and proves nothing.
type bare struct {
	signetv1.UnimplementedTokenServiceServer
	key   *ecdsa.PrivateKey
	lines chan line
}

type line struct {
	text []byte
	done chan error
}

// serveBare serves until the listener closes; certificate, key and CA are those of a vault, so that both servers do the
// same handshake.
func serveBare(certFile, keyFile, caFile, logFile string, ready io.Writer) error {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return err
	}
	pool, err := readPool(caFile)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b := &bare{key: key, lines: make(chan line, 1024)}
	go b.write(f)
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
	})))
	signetv1.RegisterTokenServiceServer(s, b)
	if _, err := fmt.Fprintf(ready, "bare: serving on %s\n", lis.Addr()); err != nil {
		return err
	}
	return s.Serve(lis)
}

// write gathers what arrived during the last fsync, writes it at once, syncs once and lets the callers go.
func (b *bare) write(f *os.File) {
	var buf []byte
	var batch []line
	for first := range b.lines {
		batch = append(batch[:0], first)
		for more := true; more; {
			select {
			case l := <-b.lines:
				batch = append(batch, l)
			default:
				more = false
			}
		}
		buf = buf[:0]
		for _, l := range batch {
			buf = append(append(buf, l.text...), '\n')
		}
		_, err := f.Write(buf)
		if err == nil {
			err = f.Sync()
		}
		for _, l := range batch {
			l.done <- err
		}
	}
}

// MintToken signs and records, nothing else.
func (b *bare) MintToken(_ context.Context, req *signetv1.MintTokenRequest) (*signetv1.MintTokenResponse, error) {
	now := time.Now()
	iat, exp := now.Add(-30*time.Second), now.Add(570*time.Second)
	t := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": "57246542-96fe-1a63-e053-0824d011072a", "iat": iat.Unix(), "exp": exp.Unix(), "aud": "appstoreconnect-v1",
	})
	t.Header["kid"] = "2X9R4HXF34"
	token, err := t.SignedString(b.key)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(token))
	text, err := json.Marshal(map[string]any{
		"v": 1, "time": now.UTC(), "action": "token.mint", "outcome": "allowed", "profile": req.GetProfile(),
		"principal": "spiffe://signet.local/bench", "key": "asc-release", "kid": "2X9R4HXF34",
		"iat": iat.Unix(), "exp": exp.Unix(), "sha256": hex.EncodeToString(sum[:]),
	})
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	b.lines <- line{text, done}
	if err := <-done; err != nil {
		return nil, err
	}
	return &signetv1.MintTokenResponse{
		Credential: &signetv1.MintTokenResponse_BearerToken{BearerToken: &signetv1.BearerToken{Token: token}},
		IssueTime:  timestamppb.New(iat),
		ExpireTime: timestamppb.New(exp),
		Sha256:     hex.EncodeToString(sum[:]),
	}, nil
}
