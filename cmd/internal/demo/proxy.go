package main

import (
	"io"
	"net"
	"sync"
)

// proxy passes connections on to one address for as long as it is not cut.
type proxy struct {
	to string
	l  net.Listener

	mu    sync.Mutex
	isCut bool
	conns map[net.Conn]bool
}

func newProxy(to string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{to: to, l: l, conns: make(map[net.Conn]bool)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			go p.pass(c)
		}
	}()
	return p, nil
}

func (p *proxy) addr() string { return p.l.Addr().String() }

// pass passes one connection on until either side, or cut, ends it.
func (p *proxy) pass(c net.Conn) {
	defer p.drop(c)
	if !p.keep(c) {
		return
	}
	up, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer p.drop(up)
	if !p.keep(up) {
		return
	}
	go func() {
		defer p.drop(up)
		io.Copy(up, c)
	}()
	io.Copy(c, up)
}

// keep remembers a connection, so that cut ends it; it answers whether it may live.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = true
	return !p.isCut
}

func (p *proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	c.Close()
}

// cut ends every connection, and every new one at once.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isCut = true
	for c := range p.conns {
		c.Close()
	}
}

func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isCut = false
}

func (p *proxy) close() {
	p.l.Close()
	p.cut()
}
