package server

import (
	"log/slog"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/p8signet/signet/proto/signet/v1"
)

// healthInterval is how old an answer of grpc.health.v1 may be.
const healthInterval = 250 * time.Millisecond

// watchHealth keeps grpc.health.v1 up to date, and the server's own log with it. was is what updateHealth has said last.
func (s *Server) watchHealth(was string) {
	tick := time.NewTicker(healthInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.background.Done():
			return
		case <-tick.C:
			is := s.updateHealth()
			switch {
			case is == was:
			case is != "":
				s.logger.ErrorContext(s.background, "minting has stopped", slog.String("reason", is))
			default:
				s.logger.InfoContext(s.background, "minting goes on")
			}
			was = is
		}
	}
}

// updateHealth says of the server as a whole, and of the service that is what it is for, whether it can mint, and
// answers why it cannot; empty when it can.
func (s *Server) updateHealth() string {
	status, why := grpc_health_v1.HealthCheckResponse_SERVING, ""
	if err := s.Ready(); err != nil {
		status, why = grpc_health_v1.HealthCheckResponse_NOT_SERVING, causes(err).Error()
	}
	s.stopped.Store(why != "")
	s.health.SetServingStatus("", status)
	s.health.SetServingStatus(signetv1.TokenService_ServiceDesc.ServiceName, status)
	return why
}
