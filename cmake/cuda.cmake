# SPDX-License-Identifier: Apache-2.0
# kpt_cuda_headers: include folders of CUDA's and cuDNN's headers, for types alone. Nothing of NVIDIA's is linked: the
# libraries are opened at run time. The headers come with torch's own pip packages; a toolkit's serve as well.
file(GLOB site_packages ${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages)
if(KPT_PYTHON AND NOT site_packages)
  execute_process(COMMAND ${KPT_PYTHON} -c "import sysconfig; print(sysconfig.get_path('purelib'))"
    OUTPUT_VARIABLE site_packages OUTPUT_STRIP_TRAILING_WHITESPACE)
endif()
find_path(KPT_CUDA_INCLUDE cublasLt.h HINTS ${site_packages}/nvidia/cu13/include PATHS /usr/local/cuda/include)
find_path(KPT_CUDNN_INCLUDE cudnn.h HINTS ${site_packages}/nvidia/cudnn/include PATHS /usr/local/cuda/include)
find_path(KPT_CUDNN_FRONTEND_INCLUDE cudnn_frontend.h HINTS ${site_packages}/include)
foreach(found KPT_CUDA_INCLUDE KPT_CUDNN_INCLUDE KPT_CUDNN_FRONTEND_INCLUDE)
  if(NOT ${found})
    message(FATAL_ERROR "[cmake] got no headers for ${found}, want those of nvidia-cuda-runtime, nvidia-cublas, nvidia-cudnn-cu13 and nvidia-cudnn-frontend, try `make setup` or -D${found}=FOLDER")
  endif()
endforeach()
add_library(kpt_cuda_headers INTERFACE)
target_include_directories(kpt_cuda_headers SYSTEM INTERFACE ${KPT_CUDA_INCLUDE} ${KPT_CUDNN_INCLUDE} ${KPT_CUDNN_FRONTEND_INCLUDE})
