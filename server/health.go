package server

import (
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/p8signet/signet/proto/signet/v1"
)

// healthInterval is how old an answer of grpc.health.v1 may be.
const healthInterval = 250 * time.Millisecond

// watchHealth keeps grpc.health.v1 up to date.
func (s *Server) watchHealth() {
	tick := time.NewTicker(healthInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.background.Done():
			return
		case <-tick.C:
			s.updateHealth()
		}
	}
}

// updateHealth says of the server as a whole, and of the service that is what it is for, whether it can mint.
func (s *Server) updateHealth() {
	status := grpc_health_v1.HealthCheckResponse_SERVING
	if s.Ready() != nil {
		status = grpc_health_v1.HealthCheckResponse_NOT_SERVING
	}
	s.health.SetServingStatus("", status)
	s.health.SetServingStatus(signetv1.TokenService_ServiceDesc.ServiceName, status)
}
