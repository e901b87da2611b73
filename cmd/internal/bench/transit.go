package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"

	hashivault "github.com/hashicorp/vault/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// benchTransit sets Signet beside Vault's transit engine signing the same bytes: an ECDSA P-256 key, signatures as a JWT has
// them, a token whose policy allows this and nothing else, TLS, and the file audit device, which does not fsync.
//
// It is what a company would do without Signet, and Vault is given every advantage that such a company could have: each caller
// holds its connection, and where Vault's own client library would build and parse generic JSON, the request here is bytes that
// were built once, and the answer is read and not parsed. That library speaks HTTP/2; HTTP/1.1 with a connection that
// is kept is measured beside it, and the faster of the two is what Signet is judged by. The server in question is all that runs
// but for its idle neighbour.
func benchTransit(ctx context.Context, w *workshop, r rounds) error {
	signet, err := w.vault(ctx, "beside-transit", onDisk{}, 10, policyDocument(10))
	if err != nil {
		return err
	}
	text, err := signet.signingInput(ctx)
	if err != nil {
		return err
	}
	h, err := w.hashicorp(ctx)
	if err != nil {
		return err
	}
	s, err := h.transit(ctx, text)
	if err != nil {
		return err
	}
	http2, http1 := s.target("transit over HTTP/2", h.Process(), true), s.target("transit over HTTP/1.1", h.Process(), false)
	w.closes = append(w.closes, http2.close, http1.close)
	rs, err := compare(ctx, callers, r, signet.target, http2, http1)
	if err != nil {
		return err
	}
	noteBoth(callers, "signet", rs[0], http2.name, rs[1])
	noteBoth(callers, "signet", rs[0], http1.name, rs[2])
	bar("mint-rate-transit", min(rs[0].of(rs[1], rate), rs[0].of(rs[2], rate)), "of-transit", ">=", 5)
	return nil
}

// signingInput is what a token of the profile is a signature over.
func (v *vault) signingInput(ctx context.Context) ([]byte, error) {
	addr, conf, err := v.w.identity(v.caller)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	if err != nil {
		return nil, err
	}
	minted, err := signetv1.NewTokenServiceClient(conn).MintToken(ctx, &signetv1.MintTokenRequest{Profile: "release"})
	token := minted.GetBearerToken().GetToken()
	dot := strings.LastIndexByte(token, '.')
	if err == nil && dot < 0 {
		err = errors.New("what was minted is no JWT")
	}
	if err := errors.Join(err, conn.Close()); err != nil {
		return nil, err
	}
	return []byte(token[:dot]), nil
}

// signing is a request to Vault to sign some bytes.
type signing struct {
	url   string
	body  []byte
	token string // of a caller that may do this alone
	tls   *tls.Config
}

// transit makes a key, a caller and the audit device, and says what that caller asks for.
func (h *hashicorp) transit(ctx context.Context, text []byte) (*signing, error) {
	const key, policy = "transit/keys/bench", `path "transit/sign/bench" { capabilities = ["update"] }`
	if _, err := h.Root.Logical().WriteWithContext(ctx, key, map[string]any{"type": "ecdsa-p256"}); err != nil {
		return nil, err
	}
	if err := h.Root.Sys().PutPolicyWithContext(ctx, "bench", policy); err != nil {
		return nil, err
	}
	device := &hashivault.EnableAuditOptions{Type: "file", Options: map[string]string{"file_path": filepath.Join(h.dir, "audit.log")}}
	if err := h.Root.Sys().EnableAuditWithOptionsWithContext(ctx, "file", device); err != nil {
		return nil, err
	}
	caller, err := h.Root.Auth().Token().CreateWithContext(ctx, &hashivault.TokenCreateRequest{Policies: []string{"bench"}, NoDefaultPolicy: true, NoParent: true})
	if err != nil {
		return nil, err
	}
	input := base64.StdEncoding.EncodeToString(text)
	body, err := json.Marshal(map[string]any{"input": input, "hash_algorithm": "sha2-256", "marshaling_algorithm": "jws"})
	if err != nil {
		return nil, err
	}
	pool, err := readPool(h.CA)
	if err != nil {
		return nil, err
	}
	s := &signing{
		url: h.Address + "/v1/transit/sign/bench", body: body, token: caller.Auth.ClientToken,
		tls: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool},
	}
	return s, s.prove(ctx, h, input)
}

// prove sees that what comes back is a signature over those bytes.
func (s *signing) prove(ctx context.Context, h *hashicorp, input string) error {
	t := &http.Transport{TLSClientConfig: s.tls.Clone()}
	defer t.CloseIdleConnections()
	answer, err := s.ask(ctx, &http.Client{Transport: t})
	if err != nil {
		return err
	}
	var signed struct {
		Data struct{ Signature string }
	}
	if err := json.Unmarshal(answer, &signed); err != nil {
		return err
	}
	said, err := h.Root.Logical().WriteWithContext(ctx, "transit/verify/bench/sha2-256", map[string]any{
		"input": input, "signature": signed.Data.Signature, "marshaling_algorithm": "jws",
	})
	if err != nil {
		return err
	}
	if said.Data["valid"] != true {
		return errors.New("what transit signed does not verify")
	}
	return nil
}

// ask asks for one signature.
func (s *signing) ask(ctx context.Context, c *http.Client) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, s.url, bytes.NewReader(s.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Vault-Token", s.token)
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("transit answers %s", resp.Status)
	}
	return answer, nil
}

// target has a connection of its own for every caller.
func (s *signing) target(name string, pid int, http2 bool) *target {
	t := &target{name: name, pid: pid}
	for range callers {
		var protocols http.Protocols
		protocols.SetHTTP2(http2)
		protocols.SetHTTP1(!http2)
		transport := &http.Transport{TLSClientConfig: s.tls.Clone(), Protocols: &protocols}
		c := &http.Client{Transport: transport}
		t.calls = append(t.calls, func(ctx context.Context) error {
			_, err := s.ask(ctx, c)
			return err
		})
		t.closes = append(t.closes, func() error { transport.CloseIdleConnections(); return nil })
	}
	return t
}
