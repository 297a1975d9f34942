# `make demo` and `make test` do all set-up themselves; see README.md.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# CI adds train (PyTorch), whose tests are skipped where it is not installed.
EXTRAS ?= embedded,heic,dev

# opencv-python loads libraries of X11, which a machine without a screen may not have. Its headless twin is the same
# program without windows; both put their files into one folder, so only one may be installed.
HEADLESS_OPENCV = echo 'no X11 libraries here: taking opencv-python-headless' \
	&& $(BIN)/python -m pip uninstall --quiet --yes opencv-python \
	&& $(BIN)/python -m pip install --quiet --constraint constraints.txt opencv-python-headless

.PHONY: demo check style-and-types tree-rules test test-versions format docs profile install-gpu install-service uninstall-service clean

# setuptools warns that an editable install finds our folders first, which is what it is for: hence PYTHONWARNINGS.
# One stamp per set of extras, so that a changed lock or pyproject reinstalls.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@$(BIN)/python -c 'import cv2' 2>/dev/null || { $(HEADLESS_OPENCV); }
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/dfld demo

# What can be said without running dfld: style, types, the tree's own rules (who may import whom, words, pages), and that
# what is generated is up to date. CI begins with it; less than a minute, its two halves side by side.
check: $(VENV)/.installed
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target style-and-types tree-rules

style-and-types: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

TREE_RULES := tests/test_*.py
tree-rules: $(VENV)/.installed
	$(BIN)/python -m pytest -q $(TREE_RULES)

# A file's tests stay together in one process, since they share what is costly to make. Four processes also on two cores:
# half of the time a test waits, for a program to start, a trainer to save or a second to pass.
# Not reordered: that would begin the few tests that kill services for minutes last.
PARALLEL ?= --numprocesses 4 --dist loadfile --no-loadscope-reorder

test: check
	$(BIN)/python -m pytest $(PARALLEL) --ignore-glob='$(TREE_RULES)' $(PYTEST_ARGS)

# Every Python that is promised and installed here, each in an environment of its own.
VERSIONS ?= 3.11 3.12 3.13
test-versions:
	@for version in $(VERSIONS); do \
		if command -v python$$version >/dev/null; then \
			$(MAKE) test PYTHON=python$$version VENV=.venv-$$version || exit 1; \
		else echo "python$$version is not installed: left out"; fi; \
	done

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Example configuration, its JSON Schema, the tables of keys and metrics, completions and man page, and the dashboard;
# tests compare them with the code.
docs: $(VENV)/.installed
	$(BIN)/python -m daemon.generated_files
	$(BIN)/python -m docs.command_line
	$(BIN)/python monitoring/dashboard.py

# Where a real extraction of one clip spends its time, as a page: profile.html. ARGS: more options of dfld extract.
profile: $(VENV)/.installed
	@test -n '$(CLIP)' || { echo 'usage: make profile CLIP=clip.mp4 [REFERENCE=photo.jpg] [ARGS=...]'; exit 2; }
	$(BIN)/python benchmarks/flame_graph.py '$(CLIP)' $(if $(REFERENCE),--reference '$(REFERENCE)') $(ARGS)

# insightface depends on onnxruntime; onnxruntime-gpu ships the same module under another name. With both
# installed the one unpacked last wins, silently. So: install, remove both, put the GPU one back alone.
install-gpu: $(VENV)/.installed
	$(BIN)/python -m pip uninstall --quiet --yes onnxruntime onnxruntime-gpu
	$(BIN)/python -m pip install --quiet --constraint constraints.txt 'onnxruntime-gpu[cuda,cudnn]'
	$(BIN)/dfld backends

# As root: program in /opt/dfld, config in /etc/dfld, state in /var/lib/dfld. Again = upgrade; both keep your data.
install-service uninstall-service:
	PYTHON='$(PYTHON)' DESTDIR='$(DESTDIR)' systemd/install.sh $(@:-service=)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
