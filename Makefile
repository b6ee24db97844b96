# The front door: everything here is one line that calls CMake, a script or a program. The build is described in CMakeLists.txt.
#
#   make            build/stable-lora, build/libstlora.a, build/libstlora.so
#   make demo       installs what is missing, builds, trains on the embedded model, shows before and after
#   make test       installs what is missing, builds, runs the tests
#   make install    PREFIX=/usr/local by default, DESTDIR is honoured
#   make bench      builds and runs the benches (bench/README.md); BENCH_FLAGS chooses, PYTHON names one with PyTorch and PEFT
#   make test-valgrind  the kernels' tests and a tiny run of the command under valgrind
#   make test-peft  compares adapters with PyTorch and PEFT (a virtual environment in .venv)
#   make deps       installs what build and tests need (packages.txt); INSTALL=no keeps every target from installing
BUILD       ?= build
PREFIX      ?= /usr/local
JOBS        ?= $(shell nproc)
INSTALL     ?= yes
CMAKE_FLAGS ?=
MAKEFLAGS   += --no-print-directory

packages = $(if $(filter no,$(INSTALL)),@true,@tools/install_packages.sh $(1))
configure = cmake -S . -B $(BUILD) -DSTLORA_TESTS=$(if $(filter test,$(1)),ON,OFF) \
	-DSTLORA_BENCH=$(if $(filter bench,$(1)),ON,OFF) $(CMAKE_FLAGS)
compile = cmake --build $(BUILD) --parallel $(JOBS)

.PHONY: all build demo test test-valgrind bench install test-peft deps deps-build check-layers clean
all build:
	@command -v cmake >/dev/null || { echo "cmake is missing; 'make deps' installs what is needed" >&2; exit 1; }
	$(call configure)
	$(compile)

deps:
	$(call packages,build test)

deps-build:
	$(call packages,build)

demo: deps-build
	$(call configure)
	$(compile) --target stable-lora
	sh demo/run.sh $(BUILD)

test: deps
	$(call configure,test)
	$(compile)
	ctest --test-dir $(BUILD) --output-on-failure --no-tests=error --parallel $(JOBS)

test-valgrind:
	$(call packages,build test valgrind)
	$(call configure,test)
	$(compile)
	ctest --test-dir $(BUILD) --output-on-failure --no-tests=error --parallel $(JOBS) -C valgrind -R '^valgrind\.'

bench:
	$(call packages,build bench)
	$(call configure,bench)
	$(compile)
	PYTHON="$(PYTHON)" python3 bench/run.py --build $(BUILD) $(BENCH_FLAGS)

install: all
	cmake --install $(BUILD) --prefix $(PREFIX)

test-peft:
	$(call packages,build peft)
	$(call configure)
	$(compile) --target stable-lora
	test -x .venv/bin/python || python3 -m venv .venv
	.venv/bin/python -m pip install -q -r tools/peft_requirements.txt
	.venv/bin/python tools/test_peft.py $(BUILD)/stable-lora

check-layers:
	python3 tools/check_layers.py

clean:
	rm -rf $(BUILD)
