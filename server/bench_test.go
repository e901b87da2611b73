package server_test

import (
	"sync"
	"testing"

	"google.golang.org/grpc"
)

// BenchmarkMintToken is one caller over mTLS and loopback, with a durable entry for every token.
func BenchmarkMintToken(b *testing.B) {
	s, _ := minting(b)
	conn := s.Conn(ci)
	for b.Loop() {
		if _, err := mint(b.Context(), conn, "release"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMintTokenParallel is 64 callers on 8 connections, who share their entries' fsyncs.
func BenchmarkMintTokenParallel(b *testing.B) {
	s, _ := minting(b)
	var conns []*grpc.ClientConn
	for range 8 {
		certificate := s.Certificate(ci)
		conns = append(conns, s.Dial(&certificate))
	}
	var (
		next sync.Mutex
		n    int
	)
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		next.Lock()
		conn := conns[n%len(conns)]
		n++
		next.Unlock()
		for pb.Next() {
			if _, err := mint(b.Context(), conn, "release"); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
