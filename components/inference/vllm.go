package inference

import "strconv"

// vllm starts vLLM's OpenAI server (docs.vllm.ai, vllm serve): 0.13 or newer, which have
// --attention-backend and don't log prompts unless they are told to. It has been started nowhere
// here, where there is no GPU: the arguments and what it writes are from its documentation.
func (s *Server) vllm() Command {
	args := []string{"--model", s.entryInside(), "--served-model-name", s.Model.Name}
	program := s.program()
	if program != nil {
		program, args = append(program, "serve"), append([]string{s.entryInside()}, args[2:]...)
	}
	if s.Server.Listen.Unix {
		args = append(args, "--uds", s.Server.Socket())
	} else {
		args = append(args, "--host", s.bindAddress(), "--port", strconv.Itoa(int(s.Server.Listen.Addr.Port())))
	}
	args = append(args, "--max-model-len", strconv.Itoa(s.Server.Context), "--max-num-seqs", strconv.Itoa(s.Server.Parallel))
	if q := s.Server.Quantization; q != "" {
		args = append(args, "--quantization", q)
	}
	if u := s.Server.GPUMemoryUtilization; u > 0 {
		args = append(args, "--gpu-memory-utilization", strconv.FormatFloat(u, 'f', -1, 64))
	}
	if b := s.Server.AttentionBackend; b != "" {
		args = append(args, "--attention-backend", b)
	}
	if n := len(s.Server.GPUs); n > 1 {
		args = append(args, "--tensor-parallel-size", strconv.Itoa(n))
	}
	if s.Server.APIKey != "" {
		args = append(args, "--config", s.keyFileInside())
	}
	return Command{
		Program: program,
		Args:    args,
		Environment: map[string]string{
			// A model is what was placed and verified, and never something to download.
			"HF_HUB_OFFLINE":       "1",
			"TRANSFORMERS_OFFLINE": "1",
			// Nothing is reported to anybody.
			"VLLM_NO_USAGE_STATS": "1",
			"DO_NOT_TRACK":        "1",
			// Its processes meet on the loopback interface, and not on whatever address the host has.
			"VLLM_HOST_IP": "127.0.0.1",
			// What it compiles is kept below HOME by vLLM, Triton and FlashInfer, and by PyTorch in a
			// folder that is named by a user's name, which the sandbox doesn't know.
			"HOME":                    "/tmp",
			"TORCHINDUCTOR_CACHE_DIR": "/tmp/torchinductor",
		},
		Scratch: []Scratch{
			{Path: "/tmp", Size: 4 << 30, Exec: true},
			// Its processes hand requests and tensors to each other in shared memory.
			{Path: "/dev/shm", Size: vllmShared << max(len(s.Server.GPUs)-1, 0)},
		},
		CompilesAtRunTime: true,
		// torch.distributed lets the kernel pick a port, also for one GPU.
		InnerPorts: AllPorts,
	}
}

// vllmShared is the shared memory of vLLM on one GPU, in bytes.
const vllmShared = 1 << 30
