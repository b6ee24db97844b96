# The instruction sets that the kernels of src/backend/cpu are compiled for, a file each; which of them runs is chosen by cpuid.
# prfchw: memory that will be written is fetched to be written, not to be read, which another core's copy would have to answer twice. Processors
# with AVX2 that do not have the instruction pass over it.
if(STLORA_SIMD AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(cpu ${CMAKE_SOURCE_DIR}/src/backend/cpu)
  set(avx512 -mavx2 -mfma -mf16c -mprfchw -mavx512f -mavx512bw -mavx512dq -mavx512vl)
  set_source_files_properties(${cpu}/level_avx2.c PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-mprfchw")
  set_source_files_properties(${cpu}/level_avx512.c PROPERTIES COMPILE_OPTIONS "${avx512}")
  set_source_files_properties(${cpu}/level_avx512_bf16.c PROPERTIES COMPILE_OPTIONS "${avx512};-mavx512bf16")
  set_source_files_properties(${cpu}/level_avx512_amx.c PROPERTIES COMPILE_OPTIONS "${avx512};-mavx512bf16;-mamx-tile;-mamx-bf16")
endif()
